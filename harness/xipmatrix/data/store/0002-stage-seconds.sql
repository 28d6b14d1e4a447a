-- SPDX-License-Identifier: GPL-2.0-only
-- What a stage costs, to balance shards: only where it was done and not kept from before.
CREATE TABLE stage (
	run TEXT NOT NULL,
	cell TEXT NOT NULL,
	name TEXT NOT NULL,
	seconds REAL NOT NULL,
	PRIMARY KEY (run, cell, name),
	FOREIGN KEY (run, cell) REFERENCES result (run, cell) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
