-- SPDX-License-Identifier: GPL-2.0-only
-- The index of what lies in the run folders. Times are UTC, ISO 8601; seconds are wall time.
CREATE TABLE run (
	id TEXT PRIMARY KEY,
	began TEXT NOT NULL,
	ended TEXT,             -- NULL: running, or interrupted
	exit_code INTEGER,
	command TEXT NOT NULL,
	host TEXT NOT NULL,
	xipmatrix TEXT NOT NULL, -- version
	matrix TEXT NOT NULL,   -- SHA-256 of matrix.yaml
	shard TEXT NOT NULL     -- "2/4"; empty where the run is whole
) STRICT, WITHOUT ROWID;
CREATE INDEX run_by_time ON run (began, id);

CREATE TABLE result (
	run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
	cell TEXT NOT NULL,
	verdict TEXT,           -- NULL: ended before a verdict (--until)
	as_expected INTEGER NOT NULL,
	known INTEGER NOT NULL, -- declared to fail
	reason TEXT NOT NULL,
	seconds REAL NOT NULL,
	PRIMARY KEY (run, cell)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_by_cell ON result (cell, run);

CREATE TABLE figure (
	run TEXT NOT NULL,
	cell TEXT NOT NULL,
	name TEXT NOT NULL,
	value REAL NOT NULL,
	PRIMARY KEY (run, cell, name),
	FOREIGN KEY (run, cell) REFERENCES result (run, cell) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE version (
	run TEXT NOT NULL,
	cell TEXT NOT NULL,
	name TEXT NOT NULL,     -- kernel, commit, series, compiler, qemu, xipmatrix
	value TEXT NOT NULL,
	PRIMARY KEY (run, cell, name),
	FOREIGN KEY (run, cell) REFERENCES result (run, cell) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
