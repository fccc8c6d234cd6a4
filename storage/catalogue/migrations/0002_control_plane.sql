-- What the control plane keeps: policies, tags, package groups, access keys, revoked tokens.

-- The resource policy of a domain (no repository) or of a repository.
CREATE TABLE policy (
    domain_id     {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    repository_id {TEXT} NOT NULL DEFAULT '',
    document      {TEXT} NOT NULL,
    revision      {TEXT} NOT NULL,
    PRIMARY KEY (domain_id, repository_id)
) {STRICT};

-- Tags of a domain (name ''), a repository (its name) or a package group (its pattern).
CREATE TABLE resource_tag (
    domain_id {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    kind      {TEXT} NOT NULL CHECK (kind IN ('domain', 'repository', 'package-group')),
    name      {TEXT} NOT NULL,
    key       {TEXT} NOT NULL,
    value     {TEXT} NOT NULL,
    PRIMARY KEY (domain_id, kind, name, key)
) {STRICT};

CREATE TABLE package_group (
    domain_id    {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    pattern      {TEXT} NOT NULL,
    contact_info {TEXT} NOT NULL DEFAULT '',
    description  {TEXT} NOT NULL DEFAULT '',
    created_at   {BIGINT} NOT NULL,
    PRIMARY KEY (domain_id, pattern)
) {STRICT};
INSERT INTO package_group (domain_id, pattern, created_at) SELECT id, '/*', created_at FROM domain;

-- A restriction that is not there is INHERIT; of the root group, ALLOW.
CREATE TABLE package_group_restriction (
    domain_id {TEXT} NOT NULL,
    pattern   {TEXT} NOT NULL,
    type      {TEXT} NOT NULL CHECK (type IN ('PUBLISH', 'EXTERNAL_UPSTREAM', 'INTERNAL_UPSTREAM')),
    mode      {TEXT} NOT NULL CHECK (mode IN ('ALLOW', 'BLOCK', 'ALLOW_SPECIFIC_REPOSITORIES', 'INHERIT')),
    PRIMARY KEY (domain_id, pattern, type),
    FOREIGN KEY (domain_id, pattern) REFERENCES package_group (domain_id, pattern) ON DELETE CASCADE
) {STRICT};

CREATE TABLE package_group_repository (
    domain_id     {TEXT} NOT NULL,
    pattern       {TEXT} NOT NULL,
    type          {TEXT} NOT NULL CHECK (type IN ('PUBLISH', 'EXTERNAL_UPSTREAM', 'INTERNAL_UPSTREAM')),
    repository_id {TEXT} NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    PRIMARY KEY (domain_id, pattern, type, repository_id),
    FOREIGN KEY (domain_id, pattern) REFERENCES package_group (domain_id, pattern) ON DELETE CASCADE
) {STRICT};

-- Access keys made by command; the secret is sealed.
CREATE TABLE credential (
    access_key_id {TEXT} PRIMARY KEY,
    principal     {TEXT} NOT NULL,
    secret        {BLOB} NOT NULL,
    created_at    {BIGINT} NOT NULL
) {STRICT};
CREATE INDEX credential_by_principal ON credential (principal);

CREATE TABLE identity_policy (
    principal {TEXT} PRIMARY KEY,
    document  {TEXT} NOT NULL
) {STRICT};

-- Tokens that hold no more although they have not expired.
CREATE TABLE revoked_token (
    id         {TEXT} PRIMARY KEY,
    expires_at {BIGINT} NOT NULL
) {STRICT};

-- Raised by every change of access keys, identity policies and revoked tokens.
CREATE TABLE access_generation (
    id         {BIGINT} PRIMARY KEY CHECK (id = 1),
    generation {BIGINT} NOT NULL
) {STRICT};
INSERT INTO access_generation (id, generation) VALUES (1, 0);

-- The bytes of a domain's blobs, in sixteen parts (the first hex digit), so that writers do not wait for one row.
CREATE TABLE blob_total (
    domain_id {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    part      {TEXT} NOT NULL,
    size      {BIGINT} NOT NULL,
    PRIMARY KEY (domain_id, part)
) {STRICT};
INSERT INTO blob_total (domain_id, part, size)
    SELECT domain_id, substr(sha256, 1, 1), SUM(size) FROM blob GROUP BY domain_id, substr(sha256, 1, 1);

CREATE INDEX package_version_by_time ON package_version (package_id, retained_at, id);
CREATE INDEX package_by_name ON package (format, namespace, name);
