-- The shop's own database. It knows nothing of Flux.
--
-- reservations, payments and shipments have one row for every key that ever acted. A row is `done`
-- or `undone`; a key that is undone before it acted gets an `undone` row too, so that it never can.

CREATE TABLE IF NOT EXISTS stock (
    sku TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    grams INTEGER NOT NULL,
    on_hand INTEGER NOT NULL CHECK (on_hand >= 0)
);
CREATE TABLE IF NOT EXISTS cards (
    card TEXT PRIMARY KEY,
    expires TEXT NOT NULL,
    limit_cents INTEGER NOT NULL,
    blocked INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS couriers (
    courier TEXT NOT NULL,
    country TEXT NOT NULL,
    max_grams INTEGER NOT NULL,
    PRIMARY KEY (courier, country)
);

CREATE TABLE IF NOT EXISTS reservations (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'done' CHECK (state IN ('done', 'undone'))
);
CREATE TABLE IF NOT EXISTS reserved_lines (
    key TEXT NOT NULL REFERENCES reservations,
    sku TEXT NOT NULL REFERENCES stock,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (key, sku)
);
CREATE TABLE IF NOT EXISTS payments (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'done' CHECK (state IN ('done', 'undone')),
    cents INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS shipments (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'done' CHECK (state IN ('done', 'undone')),
    courier TEXT
);
CREATE TABLE IF NOT EXISTS shipped_lines (
    key TEXT NOT NULL REFERENCES shipments,
    sku TEXT NOT NULL REFERENCES stock,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (key, sku)
);

-- Mail has no key: what was sent twice arrives twice.
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY,
    order_id TEXT NOT NULL,
    recipient TEXT NOT NULL,
    body TEXT NOT NULL
);
