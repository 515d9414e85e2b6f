#!/bin/sh
# Every night the whole catalogue into one file, which stays last night's until tonight's is complete.
#
#   export_nightly.sh FILE        .parquet, .ndjson, .csv or .sqlite
#
# In the environment: BRAZE_BASE_URL; BRAZE_KEY_FILE, the file with the API key, which only its owner may
# read (by default ~/.braze-api-key); ATTEMPTS (3); PAUSE between them, in seconds (900).
#
# Silent when all is well. Otherwise it says on stderr what to do, and its exit code is that of the command.
set -u

file=${1:?usage: export_nightly.sh FILE}
key_file=${BRAZE_KEY_FILE:-$HOME/.braze-api-key}
attempts=${ATTEMPTS:-3}

if [ -n "$(find -H "$key_file" \( -perm -040 -o -perm -004 \) 2>/dev/null)" ]; then
    echo "others can read the API key: chmod 600 $key_file" >&2
    exit 2
fi

attempt=1
while :; do
    # Both options, each time: what was interrupted tonight is resumed, what last night has left is not.
    said=$(braze-segments export --output "$file" --resume --overwrite --api-key-file "$key_file" --quiet 2>&1)
    code=$?
    case $code in
        0) exit 0 ;;
        1 | 3 | 4) [ "$attempt" -lt "$attempts" ] || break ;;  # may pass: failed, incomplete, rate-limited
        *) break ;;  # will not: asked for wrongly (2), stopped (130, 143), not installed (127)
    esac
    sleep "${PAUSE:-900}"
    attempt=$((attempt + 1))
done

case $code in
    2) todo="correct the options, the key file or the endpoint; nothing was asked of Braze" ;;
    3) todo="some segments could not be fetched; to write the file without them, add --allow-partial" ;;
    4) todo="others use up the rate limit: start at another hour, or raise --max-wait" ;;
    130 | 143) todo="it was stopped; run it again to continue" ;;
    *) todo="see what it said" ;;
esac
cat >&2 <<END
The export to $file failed with exit code $code, attempt $attempt of $attempts.
The file, if there was one, is as it was. What to do: $todo.

$said
END
exit "$code"
