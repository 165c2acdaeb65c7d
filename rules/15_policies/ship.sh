# Done at the third attempt; `THEN_KEY` is the same for all of them. Nobody ships to Atlantis.
if [ "$2" = "Atlantis" ]; then exit 9; fi
echo "$THEN_TASK_ID" >> "tried-$THEN_KEY"
[ "$(wc -l < "tried-$THEN_KEY")" -ge 3 ] || exit 1
rm "tried-$THEN_KEY"
