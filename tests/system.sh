#!/bin/sh
# What the tests need beside Python packages, from the system's own: Chromium and PostgreSQL.
# Where they cannot be had, the tests that need them are skipped, and say so.
missing=""
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing="chromium"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "tests: install$missing for the tests that need it" >&2
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
export DEBIAN_FRONTEND=noninteractive
echo "tests: installing $missing" >&2
$as_root apt-get update -qq >/dev/null
# shellcheck disable=SC2086
$as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null ||
    echo "tests: $missing could not be installed; the tests that need it are skipped" >&2
exit 0
