#!/bin/sh
# Writes a large input to standard output: the same arguments give the same bytes.
#
#   sh samples/make-large.sh ROWS [USERS_PER_DESKTOP] > large.csv
#
# ROWS                from 1
# USERS_PER_DESKTOP   from 1; 4 if not given. From 501 on a desktop needs more than one request.
#
# Every 50th row is a group. No binding occurs twice. Needs a POSIX shell and awk, nothing else.
set -eu

usage() {
    echo "usage: sh make-large.sh ROWS [USERS_PER_DESKTOP], both whole numbers from 1" >&2
    exit 2
}

rows=${1:-}
per_desktop=${2:-4}
for number in "$rows" "$per_desktop"; do
    case $number in
        '' | 0* | *[!0-9]*) usage ;;
    esac
done

exec awk -v rows="$rows" -v per_desktop="$per_desktop" 'BEGIN {
    split("Finance Sales Logistics Research Service", department, " ")
    print "desktop_id,desktop_name,user_name,type,department,ticket"
    for (row = 0; row < rows; row++) {
        desktop = int(row / per_desktop)
        is_group = row % 50 == 49
        printf "%08x-5eed-4000-8000-%012x,WS-%07d,%s-%08d,%s,%s,CHG-%d\n",
            desktop, desktop, desktop, is_group ? "group" : "user", row,
            is_group ? "GROUP" : "USER", department[desktop % 5 + 1], 7000 + int(row / 1000)
    }
}'
