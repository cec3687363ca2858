#!/bin/sh
# Creates one database and one role per service. Neither role can connect to the other's database.
set -eu
for service in registration identity; do
  password=$(cat "/run/secrets/${service}_database_password")
  psql --set ON_ERROR_STOP=1 --username postgres --set role="$service" --set password="$password" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role" ENCODING 'UTF8';
REVOKE CONNECT ON DATABASE :"role" FROM PUBLIC;
SQL
done
