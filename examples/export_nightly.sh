#!/bin/sh
# Export all segments to one file every night. The old file stays until the new one is complete.
#
#   export_nightly.sh FILE        .parquet, .ndjson, .csv or .sqlite
#
# Environment: BRAZE_BASE_URL; BRAZE_KEY_FILE, a file with the API key that only its owner can read (default:
# ~/.braze-api-key); ATTEMPTS (default: 3); PAUSE, the seconds between attempts (default: 900).
#
# Prints nothing on success. On failure, prints to stderr what to do, and exits with the code of the command.
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
    # Both options resume an export that was interrupted tonight, and discard an older one.
    output=$(braze-segments export "$file" --resume --overwrite --api-key-file "$key_file" --quiet 2>&1)
    code=$?
    case $code in
        0) exit 0 ;;
        1 | 3 | 4) [ "$attempt" -lt "$attempts" ] || break ;;  # worth a retry: failed, incomplete, rate-limited
        *) break ;;  # not worth it: usage error (2), key refused (5), interrupted (130, 143), not installed (127)
    esac
    sleep "${PAUSE:-900}"
    attempt=$((attempt + 1))
done

case $code in
    2) todo="correct the options, the key file or the endpoint; no request was sent" ;;
    3) todo="some segments could not be fetched; to write the file without them, add --allow-partial" ;;
    4) todo="other clients use up the rate limit: start at another hour, or raise --max-wait" ;;
    5) todo="the API key is refused or lacks a permission; run braze-segments check, then replace the key" ;;
    130 | 143) todo="it was interrupted; run it again to continue" ;;
    *) todo="see the message below" ;;
esac
cat >&2 <<END
The export to $file failed with exit code $code, attempt $attempt of $attempts.
An existing file is unchanged. What to do: $todo.

$output
END
exit "$code"
