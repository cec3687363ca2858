-- One service's database and its three roles (ADR 0021): the owner, the service, and a reader. Safe to run again.
--
-- Run it with psql, as a superuser or as a role that may create roles and databases. Variables: database, service,
-- owner, reader. Environment: OWNER_PASSWORD, SERVICE_PASSWORD, READER_PASSWORD.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv service_password SERVICE_PASSWORD
\getenv reader_password READER_PASSWORD
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I', role) FROM unnest(ARRAY[:'owner', :'service', :'reader']) AS role
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"owner" LOGIN PASSWORD :'owner_password';
ALTER ROLE :"service" LOGIN PASSWORD :'service_password';
ALTER ROLE :"reader" LOGIN PASSWORD :'reader_password';
-- The owner hands the tables of views over to the service. A role that gives a database away must be a member of
-- the role that gets it.
GRANT :"service" TO :"owner";
GRANT :"owner" TO CURRENT_USER;

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8''', :'database', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :"database"
SET client_min_messages = warning;

-- In a database of an earlier release the service owns the tables. Until `migrate` has given it exactly its rights,
-- it goes on with all that it needs.
BEGIN;
SELECT pg_get_userbyid(datdba) = :'service' AS is_of_earlier_release FROM pg_database
 WHERE datname = current_database() \gset
\if :is_of_earlier_release
REASSIGN OWNED BY :"service" TO :"owner";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"service";
\endif
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO :"owner";
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"service", :"reader";
COMMIT;
