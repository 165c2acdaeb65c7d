-- Entries may be durable in `journal.tail` and not be here yet; who does not know
-- of it must not open this. The records there that bear this number, their
-- generation, are those that are not here.
INSERT INTO mark VALUES ('tail', 1);
