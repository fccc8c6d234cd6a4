-- Whether this store is on its way to another place, or comes from one; no row: neither. `entrepot migrate` writes it.
-- Together with `filling`, `held`, `moved` and `abandoned` goes a trigger on every other table that refuses changes.
CREATE TABLE moving (
    id         {BIGINT} PRIMARY KEY CHECK (id = 1),
    store      {TEXT} NOT NULL,
    peer       {TEXT} NOT NULL,
    place      {TEXT} NOT NULL,
    state      {TEXT} NOT NULL CHECK (state IN ('open', 'filling', 'held', 'moved', 'abandoned')),
    digest     {TEXT} NOT NULL DEFAULT '',
    changed_at {BIGINT} NOT NULL
) {STRICT};
