# For `run` and `realtime`, which source it: a PostgreSQL server of the bench's own in $folder/pg, at $port, ended with the script.
if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
  sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql
fi
pg_bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | sort -V | tail -1)")
# PostgreSQL refuses to run as root: then it runs as the user that its package made.
as_postgres() { if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
mkdir -p "$folder"
sockets=$(mktemp -d "${TMPDIR:-/tmp}/klio-bench.XXXXXX"); chmod 777 "$sockets"
if [ ! -d "$folder/pg" ]; then
  mkdir "$folder/pg"; [ "$(id -u)" -eq 0 ] && chown postgres "$folder/pg"
  as_postgres "$pg_bin/initdb" -D "$folder/pg" -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 >/dev/null
fi
finish() { as_postgres "$pg_bin/pg_ctl" -D "$folder/pg" -m fast stop >/dev/null 2>&1 || true; rm -rf "$sockets"; }
trap finish EXIT
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])' 2>/dev/null || echo 54998)
# Durable as PostgreSQL is by default; memory for a machine of some gigabytes.
as_postgres "$pg_bin/pg_ctl" -D "$folder/pg" -w -l "$folder/pg/log" -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$sockets \
  -c max_connections=100 -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min" start >/dev/null
