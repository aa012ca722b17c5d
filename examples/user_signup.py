"""User sign-up: undo what was done when a later step fails; skip a step that is not wanted.

    python examples/user_signup.py

The accounts are rows of a SQLite database, the mails are messages in an mbox file.
"""

import asyncio
import mailbox
import sqlite3
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from flux import CompensationContext, FluxEngine, Workflow, WorkflowContext

FOLDER = TemporaryDirectory()
USERS = Path(FOLDER.name, "users.db")
MAIL = Path(FOLDER.name, "outgoing.mbox")


@frozen(kw_only=True)
class SignUp:
    """What the form on the web page sends."""

    email: str
    username: str
    newsletter: bool = False


signup = Workflow("user-signup", input=SignUp)


@signup.step
def create_account(ctx: WorkflowContext) -> None:
    # The key makes the effect idempotent: asked twice, there is still one account.
    add = "INSERT INTO accounts (key, email) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
    change(add, ctx.idempotency_key, ctx.input.email)


@create_account.compensate
def delete_account(ctx: CompensationContext) -> None:
    change("DELETE FROM accounts WHERE key = ?", ctx.step_key)


@signup.step
def reserve_username(ctx: WorkflowContext) -> None:
    # A name that another account has is a conflict too, and fails the step.
    add = "INSERT INTO usernames (key, name) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
    change(add, ctx.idempotency_key, ctx.input.username)


@reserve_username.compensate
def free_username(ctx: CompensationContext) -> None:
    change("DELETE FROM usernames WHERE key = ?", ctx.step_key)


@signup.step(when=lambda ctx: ctx.input.newsletter)
def subscribe(ctx: WorkflowContext) -> None:
    change("UPDATE accounts SET newsletter = 1 WHERE email = ?", ctx.input.email)


@signup.step(at_most_once=True)  # a mail has no key: after a crash it is not sent once more
def send_welcome(ctx: WorkflowContext) -> None:
    name, _, domain = ctx.input.email.partition("@")
    if not name or "." not in domain:
        raise ValueError(f"no mail can be sent to {ctx.input.email!r}")
    message = EmailMessage()
    message["To"] = ctx.input.email
    message["Subject"] = f"Welcome, {ctx.input.username}!"
    with closing(mailbox.mbox(MAIL)) as box:
        box.add(message)


def change(query: str, *values: object) -> None:
    with closing(sqlite3.connect(USERS)) as db, db:
        db.execute(query, values)


def rows(query: str, *values: object) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(USERS)) as db:
        return db.execute(query, values).fetchall()


async def main() -> None:
    change("CREATE TABLE accounts (key TEXT PRIMARY KEY, email TEXT UNIQUE, newsletter INTEGER)")
    change("CREATE TABLE usernames (key TEXT PRIMARY KEY, name TEXT UNIQUE)")
    async with FluxEngine(workflows=[signup]) as flux:  # in memory, so no URL
        for form in (
            SignUp(email="ada@example.org", username="ada", newsletter=True),
            SignUp(email="grace@example.org", username="grace"),
            SignUp(email="adam@example.org", username="ada"),
            SignUp(email="linus@nowhere", username="linus"),
        ):
            result = await flux.execute(signup, form)
            print(f"{form.email}: {result.status}")
            for step in result.history:
                print(f"  {step.name}: {step.status}")
            if result.error:
                print(f"  {result.error}")
    print("accounts:", *(email for (email,) in rows("SELECT email FROM accounts ORDER BY email")))
    print("usernames:", *(name for (name,) in rows("SELECT name FROM usernames ORDER BY name")))
    with closing(mailbox.mbox(MAIL)) as box:
        print("mails:", *(message["To"] for message in box))


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
