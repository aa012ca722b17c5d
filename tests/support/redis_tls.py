"""A Redis behind TLS: a server with a certificate passes on what is asked and answered."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest


@asynccontextmanager
async def encrypted(port: int, folder: Path) -> AsyncIterator[str]:
    """The URL of a server that encrypts and passes on to a port; its certificate is its own."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _make(certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_read, to_write = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, to_write), _pass_on(to_read, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        own_port = listening.sockets[0].getsockname()[1]
        yield f"rediss://localhost:{own_port}/0?ca_certs={certificate}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while said := await reader.read(65536):
            writer.write(said)
            await writer.drain()
    writer.close()


def _make(certificate: Path, key: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes certificates, is not installed")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    place = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *new, *name, *place], check=True, capture_output=True)
