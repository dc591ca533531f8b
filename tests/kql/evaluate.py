"""The texts of computer groups give the right members, evaluated over random worlds of late, lost,
repeated and reordered rows, collections that are made again, renames and removals.

A world is a list of things that happened, in order. What a reader must see is worked out from them
directly; what he does see comes from the texts, run by a real engine over the rows."""

import hashlib
import json
import random
import sys

import duckdb_kql

WORLDS = 80
SITES = ("CAS", "PR1")
GROUPS = ("PS100014", "PS100015")


class World:
    """Rows of both tables, and the members that a reader must see."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.seq = 1_000
        self.members, self.markers = [], []
        self.truth, self.names = {}, {}
        for site in SITES:
            for group in GROUPS:
                self.life(site, group)
        self.disturb()

    def row(self, site, group, device, action, seq):
        number, name = device
        fqdn = f"{name}.contoso.com".lower() if number % 3 else name
        return (site, group, number, fqdn, name, "PS1", action, seq)

    def marker(self, site, group, name, count, start, seq, status):
        full = f"/Servers/{name} ({group})"
        self.markers.append((site, group, name, full, count, f"run-{start}", start, seq, "instance", status))

    def life(self, site, group):
        """Snapshots, deltas, renames and removals of one collection."""
        now, name, lost, start = {}, f"First {group}", False, None
        for _ in range(self.draw.randint(1, 8)):
            self.seq += 10
            step = self.draw.choice(("snapshot", "delta", "delta", "rename", "removed", "lost snapshot"))
            if start is None or step == "snapshot" or step == "lost snapshot":
                if self.draw.random() < 0.5:
                    now = {n: f"DEV{n}" for n in self.draw.sample(range(12), self.draw.randint(0, 8))}
                start = self.seq
                rows = [self.row(site, group, d, "Present", start) for d in now.items()]
                # A later delta tells what the lost rows told; a snapshot that lacks rows is not whole.
                is_lost = step == "lost snapshot" and len(rows) > 1 and self.truth.get((site, group)) is not None
                if is_lost and set(self.known) == set(now.items()):
                    rows = rows[: len(rows) // 2]
                self.members += rows
                self.marker(site, group, name, len(now), start, start, "Complete")
            elif step == "delta":
                for number in self.draw.sample(range(12), 2):
                    if number in now and self.draw.random() < 0.5:
                        self.members.append(self.row(site, group, (number, now.pop(number)), "Remove", self.seq))
                    else:
                        now[number] = f"DEV{number}" if self.draw.random() < 0.7 else f"NEW{number}"
                        self.members.append(self.row(site, group, (number, now[number]), "Add", self.seq))
            elif step == "rename":
                name = f"Renamed {self.seq}"
                self.marker(site, group, name, self.count_of(site, group, start), start, self.seq, "Complete")
            else:
                self.marker(site, group, name, 0, start, self.seq, "Removed")
                now, start = {}, None
            self.known = list(now.items())
            self.truth[site, group] = None if start is None else dict(now)
            self.names[site, group] = name

    def count_of(self, site, group, start):
        return max(m[4] for m in self.markers if m[:2] == (site, group) and m[6] == start)

    def disturb(self):
        """Rows come repeated and in any order."""
        for rows in (self.members, self.markers):
            rows += self.draw.sample(rows, len(rows) // 3)
            self.draw.shuffle(rows)

    def written(self):
        """The same world for the lab's own reader."""
        kept = [key for key in self.truth if self.truth[key] is not None]
        truth = [[site, group, sorted(self.rows(site, group)), self.names[site, group]] for site, group in kept]
        return {"members": self.members, "markers": self.markers, "truth": truth}

    def rows(self, site, group):
        members = self.truth[site, group] or {}
        return {self.row(site, group, d, "Present", 0)[2:5] for d in members.items()}

    def sums(self, site, group):
        """What the state says of a group: its name, its members, and the sum of their hashes."""
        rows = self.rows(site, group)
        digests = (hashlib.sha256("|".join(map(str, row)).encode()).hexdigest() for row in rows)
        return self.names[site, group], len(rows), sum(int(d[:10], 16) for d in digests)

    def snapshots(self, site, group):
        """What was said of a group: begun, said, members, how, and its name then."""
        said = {}
        for m in self.markers:
            if m[:2] == (site, group):
                key = (m[6], m[7], m[9], m[2])
                said[key] = max(said.get(key, 0), m[4])
        return {(start, seq, count, status, name) for (start, seq, status, name), count in said.items()}

    def changes(self, site, group):
        return {(m[7], m[2], m[3], m[6]) for m in self.members if m[:2] == (site, group) and m[6] != "Present"}

    def changes_of(self, site, name):
        """Groups that a computer came to and went from, by their last names."""
        rows = [m for m in self.members if m[0] == site and m[6] != "Present" and name.lower() in (m[3].lower(), m[4].lower())]
        last = {}
        for m in sorted(self.markers, key=lambda m: m[7]):
            if m[0] == site and m[9] == "Complete":
                last[m[1]] = m[2]
        return {(m[7], m[1], last.get(m[1], ""), m[6]) for m in rows}

    def computers(self, site, group):
        members = self.truth[site, group] or {}
        rows = [self.row(site, group, d, "Present", 0) for d in members.items()]
        return {r[3] for r in rows} | {r[4] for r in rows}


def connect():
    con = duckdb_kql.connect()
    con.sql("create table ConfigMgrCollectionMember_CL (SiteCode VARCHAR, GroupId VARCHAR, ResourceId BIGINT, Computer VARCHAR, NetbiosName VARCHAR, AssignedSite VARCHAR, Action VARCHAR, Seq BIGINT, TimeGenerated TIMESTAMP default (now() at time zone 'UTC'))")
    con.sql('create table ConfigMgrCollection_CL (SiteCode VARCHAR, GroupId VARCHAR, "Group" VARCHAR, GroupFullName VARCHAR, MemberCount BIGINT, RunId VARCHAR, StartSeq BIGINT, Seq BIGINT, Instance VARCHAR, Status VARCHAR, TimeGenerated TIMESTAMP default (now() at time zone \'UTC\'))')
    return con


def fill(con, world):
    for table, rows in (("ConfigMgrCollectionMember_CL", world.members), ("ConfigMgrCollection_CL", world.markers)):
        con.execute(f"delete from {table}")
        if rows:
            places = ", ".join("?" * len(rows[0]))
            columns = con.execute(f"select * from {table} limit 0").description
            names = ", ".join(f'"{c[0]}"' for c in columns[: len(rows[0])])
            con.executemany(f"insert into {table} ({names}) values ({places})", rows)


def history(con, texts, world, of):
    """What was, of a group and of a computer; the engine knows no time of arrival."""

    def asked(name):
        text = texts[name].replace("'CAS'", f"'{of[0]}'").replace("'PS100014'", f"'{of[1]}'")
        rows = duckdb_kql.query(con, text.replace("ingestion_time()", "TimeGenerated")).fetchall()
        return [tuple(row) for row in rows]

    snapshots = asked("snapshots")
    assert {row[:5] for row in snapshots} == world.snapshots(*of), f"{of}: {snapshots}"
    assert [row[1] for row in snapshots] == sorted((row[1] for row in snapshots), reverse=True)
    assert set(asked("changes")) == world.changes(*of), of
    assert set(asked("computer")) == world.changes_of(of[0], "DEV3"), of


def main():
    texts = json.load(open(sys.argv[1]))["texts"]
    con = connect()
    checked = members = 0
    for seed in range(WORLDS):
        world = World(seed)
        fill(con, world)
        for site in SITES:
            for group in GROUPS:
                text = texts["group_both"].replace("'CAS'", f"'{site}'").replace("'PS100014'", f"'{group}'")
                found = {row[0] for row in duckdb_kql.query(con, text).fetchall()}
                wanted = world.computers(site, group)
                assert found == wanted, f"world {seed}, {site} {group}: {sorted(found ^ wanted)}"
                checked, members = checked + 1, members + len(wanted)
                if seed % 4 == 0:
                    history(con, texts, world, (site, group))
        every = duckdb_kql.query(con, texts["all_both"]).fetchall()
        found = {(row[5], row[3], row[0]) for row in every}
        wanted = {(s, g, c) for s in SITES for g in GROUPS for c in world.computers(s, g)}
        assert found == wanted, f"world {seed}: {sorted(found ^ wanted)[:5]}"
        for row in every:
            assert row[1] == world.names[row[5], row[3]] and row[4] == "SCCM", f"world {seed}: {row}"
        # Every fourth: the engine's translator takes its time over them.
        for site in SITES if seed % 4 == 0 else ():
            sums = duckdb_kql.query(con, texts["sums"].replace("'CAS'", f"'{site}'")).fetchall()
            found = {row[0]: (row[1], row[2], row[3]) for row in sums}
            wanted = {g: world.sums(site, g) for g in GROUPS if world.truth[site, g] is not None}
            assert found == wanted, f"world {seed}, {site}: {found}, not {wanted}"
            one = texts["members"].replace("'CAS'", f"'{site}'")
            rows = {tuple(row) for row in duckdb_kql.query(con, one).fetchall()}
            assert rows == world.rows(site, GROUPS[0]), f"world {seed}, {site}: {rows}"
    if len(sys.argv) > 2:
        json.dump([World(seed).written() for seed in range(WORLDS)], open(sys.argv[2], "w"))
    odd = json.load(open(sys.argv[1]))["odd"]
    static = {row[0] for row in duckdb_kql.query(con, texts["static"]).fetchall()}
    assert static >= {"a.contoso.com", "A"} and len(static) == 3, static
    assert members > 500, f"the worlds are too empty: {members}"
    print(f"{checked} groups of {WORLDS} worlds give their {members} names ({len(odd)} odd characters in one)")


if __name__ == "__main__":
    main()
