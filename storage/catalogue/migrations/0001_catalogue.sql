-- The catalogue: what every domain holds. Portable between SQLite and PostgreSQL: the engine replaces
-- {TEXT} (COLLATE "C" where the engine has collations), {BLOB}, {STRICT} and {BIGINT}; statements end in ";" at a line's end.
-- Times are microseconds since 1970 UTC, booleans 0/1, digests lower-case hex, identifiers made by the application.

CREATE TABLE domain (
    id             {TEXT} PRIMARY KEY,
    name           {TEXT} NOT NULL UNIQUE,
    owner          {TEXT} NOT NULL,
    encryption_key {TEXT} NOT NULL,
    created_at     {BIGINT} NOT NULL,
    generation     {BIGINT} NOT NULL DEFAULT 0
) {STRICT};

CREATE TABLE repository (
    id            {TEXT} PRIMARY KEY,
    domain_id     {TEXT} NOT NULL REFERENCES domain (id),
    name          {TEXT} NOT NULL,
    administrator {TEXT} NOT NULL,
    description   {TEXT} NOT NULL DEFAULT '',
    connection    {TEXT},
    created_at    {BIGINT} NOT NULL,
    UNIQUE (domain_id, name)
) {STRICT};

CREATE TABLE repository_upstream (
    repository_id {TEXT} NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    position      {BIGINT} NOT NULL,
    upstream_id   {TEXT} NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    PRIMARY KEY (repository_id, position),
    UNIQUE (repository_id, upstream_id)
) {STRICT};
CREATE INDEX repository_upstream_by_upstream ON repository_upstream (upstream_id);

CREATE TABLE package (
    id               {TEXT} PRIMARY KEY,
    repository_id    {TEXT} NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    format           {TEXT} NOT NULL,
    namespace        {TEXT} NOT NULL DEFAULT '',
    name             {TEXT} NOT NULL,
    publish_control  {TEXT} NOT NULL CHECK (publish_control IN ('ALLOW', 'BLOCK')),
    upstream_control {TEXT} NOT NULL CHECK (upstream_control IN ('ALLOW', 'BLOCK')),
    created_at       {BIGINT} NOT NULL,
    UNIQUE (repository_id, format, namespace, name)
) {STRICT};

-- What may have changed in how a domain sees a name: raised by every change of a package, version or tag
-- of this name in any repository, and by a remembered upstream answer that says something new.
CREATE TABLE name_generation (
    domain_id  {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    format     {TEXT} NOT NULL,
    namespace  {TEXT} NOT NULL,
    name       {TEXT} NOT NULL,
    generation {BIGINT} NOT NULL,
    PRIMARY KEY (domain_id, format, namespace, name)
) {STRICT};

CREATE TABLE revision (
    domain_id    {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    id           {TEXT} NOT NULL,
    metadata     {BLOB} NOT NULL,
    published_at {BIGINT},
    created_at   {BIGINT} NOT NULL,
    PRIMARY KEY (domain_id, id)
) {STRICT};

CREATE TABLE asset (
    domain_id    {TEXT} NOT NULL,
    revision_id  {TEXT} NOT NULL,
    name         {TEXT} NOT NULL,
    sha256       {TEXT} CHECK (length(sha256) = 64),
    digests      {TEXT} NOT NULL,
    size         {BIGINT},
    published_at {BIGINT},
    facts        {BLOB} NOT NULL,
    url          {TEXT},
    PRIMARY KEY (domain_id, revision_id, name),
    FOREIGN KEY (domain_id, revision_id) REFERENCES revision (domain_id, id) ON DELETE CASCADE
) {STRICT};
CREATE INDEX asset_by_sha256 ON asset (domain_id, sha256);

CREATE TABLE package_version (
    id                {TEXT} PRIMARY KEY,
    domain_id         {TEXT} NOT NULL,
    package_id        {TEXT} NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    version           {TEXT} NOT NULL,
    version_key       {TEXT} NOT NULL,
    status            {TEXT} NOT NULL CHECK (status IN ('Published', 'Unfinished', 'Unlisted', 'Archived', 'Disposed')),
    revision_id       {TEXT} NOT NULL,
    origin_type       {TEXT} NOT NULL CHECK (origin_type IN ('INTERNAL', 'EXTERNAL', 'UNKNOWN')),
    origin_repository {TEXT},
    origin_connection {TEXT},
    published_at      {BIGINT},
    retained_at       {BIGINT} NOT NULL,
    UNIQUE (package_id, version_key),
    FOREIGN KEY (domain_id, revision_id) REFERENCES revision (domain_id, id)
) {STRICT};
CREATE INDEX package_version_by_revision ON package_version (domain_id, revision_id);

-- npm's dist-tags, and whatever else names a version of a package in one repository.
CREATE TABLE package_tag (
    package_id {TEXT} NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    tag        {TEXT} NOT NULL,
    version    {TEXT} NOT NULL,
    PRIMARY KEY (package_id, tag)
) {STRICT};

-- Bytes that are stored. A condemned blob is about to be deleted by gc: nobody may refer to it any more.
CREATE TABLE blob (
    domain_id    {TEXT} NOT NULL REFERENCES domain (id),
    sha256       {TEXT} NOT NULL CHECK (length(sha256) = 64),
    size         {BIGINT} NOT NULL,
    digests      {TEXT} NOT NULL,
    touched_at   {BIGINT} NOT NULL,
    condemned_at {BIGINT},
    PRIMARY KEY (domain_id, sha256)
) {STRICT};

-- What goes with an asset's bytes: PyPI's core metadata and provenance documents. `source_sha256` is the asset's digest.
CREATE TABLE sidecar (
    domain_id     {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    source_sha256 {TEXT} NOT NULL CHECK (length(source_sha256) = 64),
    kind          {TEXT} NOT NULL,
    sha256        {TEXT} NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (domain_id, source_sha256, kind)
) {STRICT};
CREATE INDEX sidecar_by_sha256 ON sidecar (domain_id, sha256);

-- What an external connection answered for a package, so that a restart or an outage forgets nothing.
CREATE TABLE remembered (
    domain_id     {TEXT} NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    connection    {TEXT} NOT NULL,
    format        {TEXT} NOT NULL,
    namespace     {TEXT} NOT NULL,
    name          {TEXT} NOT NULL,
    found         {BIGINT} NOT NULL CHECK (found IN (0, 1)),
    etag          {TEXT},
    last_modified {TEXT},
    serial        {BIGINT},
    digest        {TEXT} NOT NULL,
    fetched_at    {BIGINT} NOT NULL,
    validated_at  {BIGINT} NOT NULL,
    index_packed  {BLOB} NOT NULL,
    PRIMARY KEY (domain_id, connection, format, namespace, name)
) {STRICT};

-- Append-only, written in the transaction of the change that it tells: who, when, what, before, after.
CREATE TABLE event (
    id         {TEXT} PRIMARY KEY,
    domain_id  {TEXT} NOT NULL,
    at         {BIGINT} NOT NULL,
    kind       {TEXT} NOT NULL,
    principal  {TEXT} NOT NULL,
    repository {TEXT} NOT NULL DEFAULT '',
    format     {TEXT} NOT NULL DEFAULT '',
    namespace  {TEXT} NOT NULL DEFAULT '',
    name       {TEXT} NOT NULL DEFAULT '',
    version    {TEXT} NOT NULL DEFAULT '',
    before     {TEXT} NOT NULL DEFAULT '{}',
    after      {TEXT} NOT NULL DEFAULT '{}'
) {STRICT};
CREATE INDEX event_by_package ON event (domain_id, repository, format, namespace, name, at);
CREATE INDEX event_by_time ON event (domain_id, at);

-- Work that one process does for all: whoever holds the row does it, until it says so or time runs out.
CREATE TABLE lease (
    key   {TEXT} PRIMARY KEY,
    owner {TEXT} NOT NULL,
    until {BIGINT} NOT NULL,
    note  {TEXT} NOT NULL DEFAULT ''
) {STRICT};

-- Keys that seal authorization tokens; the newest seals, all that are kept open.
CREATE TABLE token_key (
    id         {TEXT} PRIMARY KEY,
    secret     {BLOB} NOT NULL,
    created_at {BIGINT} NOT NULL
) {STRICT};
