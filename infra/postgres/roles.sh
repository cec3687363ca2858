#!/bin/sh
# Creates one database per service, each with three roles (ADR 0021): the owner, the service, and a reader. No role can
# connect to the other service's database. Safe to run again: after an upgrade from a release with one role per service,
# it gives the tables to the owner. Then `migrate` gives the service its rights.
#
# psql connects as PGUSER says (default postgres). The passwords are files in SECRETS (default /run/secrets).
set -eu
(
  secrets=${SECRETS:-/run/secrets}
  sql=${ROLES_SQL:-/etc/landelijk-lenen/roles.sql}
  export PGUSER="${PGUSER:-postgres}" PGDATABASE="${PGDATABASE:-postgres}"
  export OWNER_PASSWORD SERVICE_PASSWORD READER_PASSWORD
  for service in registration identity; do
    OWNER_PASSWORD=$(cat "$secrets/${service}_owner_password")
    SERVICE_PASSWORD=$(cat "$secrets/${service}_database_password")
    READER_PASSWORD=$(cat "$secrets/${service}_reader_password")
    psql --no-psqlrc --quiet --set database="$service" --set service="$service" --set owner="${service}_owner" \
         --set reader="${service}_reader" --file "$sql"
  done
)
