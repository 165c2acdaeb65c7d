# Prints nothing; hands back as many degrees as the city has letters.
if [ "$1" = "Atlantis" ]; then
  echo "nobody is at home" >&2
  exit 1
fi
printf '{"degrees": %s}' "${#1}" > "$THEN_RESULT"
