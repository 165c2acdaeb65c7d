# A page a letter, and a file that holds the text: it lies with the task's output.
echo "$1 in Garamond" > "$THEN_ARTIFACTS/sheet.txt"
printf '{"pages": %s, "sheet": "sheet.txt"}' "${#1}" > "$THEN_RESULT"
