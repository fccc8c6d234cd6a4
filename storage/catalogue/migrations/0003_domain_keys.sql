-- The data key of an encrypted domain, wrapped by a master key; a domain without a row is not encrypted.
-- `provider`, `name` and `version` say which master key wraps it now.
CREATE TABLE domain_key (
    domain_id  {TEXT} PRIMARY KEY REFERENCES domain (id) ON DELETE CASCADE,
    provider   {TEXT} NOT NULL,
    name       {TEXT} NOT NULL,
    version    {TEXT} NOT NULL,
    wrapped    {BLOB} NOT NULL,
    wrapped_at {BIGINT} NOT NULL
) {STRICT};
