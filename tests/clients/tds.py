"""Published clients for SQL Server, pymssql (FreeTDS), python-tds and Microsoft's for Go, against the lab's
site database: each query that cmsync asks, as docs/sql.md shows it, gives all the same rows; refusals are
refusals, and a result of which nobody wants the rest ends where it is left."""

import datetime
import json
import pathlib
import re
import subprocess
import urllib.parse

import pymssql
import pytds
import requests

import lab

USER, PASSWORD, DATABASE = "cmsync_reader", "password-of-the-lab~1", "CM_CAS"
GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs/sql.md"
DEVICES, MEMBERSHIPS = 60_000, 200_000
# A collection and one of its members.
SOME = []


def queries():
    _, text = GUIDE.read_text().split("## The queries")
    return re.findall(r"```sql\n(.*?)\n```", text, re.S)


def parameters(query):
    """What cmsync would give, by what the parameters are compared with."""
    if "CHANGETABLE" in query:
        return (0, 25)
    if "m.CollectionID = @P1" in query:
        return (SOME[0], SOME[1] - 1 if "TOP" in query else SOME[1], 25)
    if "CollectionID" in query or "SiteID" in query:
        return ("PS100001",)
    if "TOP (@P2)" in query:
        return (16_777_216, 25)
    return (16_777_216, 16_777_300)


def run(connection, query):
    """The rows, with the parameters in the places of @P1 and @P2 in the query's order."""
    named = {f"@P{n}": value for n, value in enumerate(parameters(query), 1)}
    order = re.findall(r"@P\d", query)
    cursor = connection.cursor()
    cursor.execute(re.sub(r"@P\d", "%s", query), tuple(named[name] for name in order))
    return [tuple(row) for row in cursor.fetchall()]


def with_go(port, authority, directory, asked, encryption):
    """How many rows Microsoft's client for Go gets."""
    file = directory / "questions.json"
    file.write_text(json.dumps([{"Query": q, "Parameters": parameters(q)[: len(set(re.findall(r"@P\d", q)))]} for q in asked]))
    options = urllib.parse.urlencode({"database": DATABASE, "encrypt": encryption, "certificate": authority, "hostNameInCertificate": "localhost"})
    address = f"sqlserver://{USER}:{urllib.parse.quote(PASSWORD)}@localhost:{port}?{options}"
    program = directory / "go-client"
    if not program.exists():
        subprocess.run(["go", "build", "-o", program, "."], cwd=pathlib.Path(__file__).parent / "go", check=True)
    answer = subprocess.run([program, address, file], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return [int(line) for line in answer.stdout.split()]


def refused(connect, number):
    try:
        connect()
    except Exception as error:  # each client has classes of its own
        assert number in str(error) + str(getattr(error, "number", "")), f"{number} is not in {error!r}"
        return
    raise AssertionError("let in")


def main():
    with lab.running(DEVICES, 12, MEMBERSHIPS) as (url, authority, tokens):
        requests.post(f"{url}/lab/faults", json={"tracks_from": 0, "lag": 7}, verify=authority).raise_for_status()
        requests.get(f"{url}/lab/churn?collections=3", verify=authority).raise_for_status()
        port = int((tokens.directory / "lab-sql").read_text())

        def freetds(password=PASSWORD, database=DATABASE, encryption="require"):
            return pymssql.connect(server="localhost", port=str(port), user=USER, password=password, database=database, encryption=encryption, login_timeout=20)

        # It looks for the host's name in a way that newer releases of pyOpenSSL no longer have.
        def python_tds(password=PASSWORD, database=DATABASE):
            return pytds.connect(dsn="localhost", port=port, user=USER, password=password, database=database, cafile=authority, validate_host=False, login_timeout=20)

        one, other = freetds(), python_tds()
        asked = queries()
        assert len(asked) == 20, len(asked)
        SOME.extend(run(one, next(q for q in asked if "m.CollectionID IN" in q))[0][:2])
        for query in asked:
            rows = run(one, query)
            assert rows or "RCM_" in query, query
            if "SYSUTCDATETIME" not in query:
                assert rows == run(other, query), query
        counts = [len(run(one, query)) for query in asked]
        for encryption in ("true", "strict", "disable"):
            assert with_go(port, authority, tokens.directory, asked, encryption) == counts, encryption
        members = run(one, next(q for q in asked if "m.CollectionID IN" in q))
        assert members == sorted(members) and {type(v) for v in members[0][:4]} == {str, int}, members[:2]
        collections = run(one, next(q for q in asked if "v_Collection AS" in q))
        assert isinstance(collections[0][3], datetime.datetime), collections[0]
        folders = run(other, next(q for q in asked if "v_Collections AS" in q))
        assert {path is None or path.startswith("/") for _, path, _, _ in folders} == {True}, folders

        everything = "SELECT m.CollectionID, m.ResourceID, m.Name, m.SiteCode FROM dbo.v_FullCollectionMembership AS m"
        for connection in (one, other):
            cursor = connection.cursor()
            cursor.execute(everything)
            rows = cursor.fetchall()
            cursor.execute("SELECT COUNT(*) FROM dbo.v_FullCollectionMembership")
            assert cursor.fetchone()[0] == len(rows) > MEMBERSHIPS, len(rows)
            # A result that is left unread does not stand in the way of the next.
            cursor.execute(everything)
            cursor.fetchone()
            cursor.close()
            cursor = connection.cursor()
            cursor.execute("SELECT DB_NAME()")
            assert cursor.fetchone()[0] == DATABASE
            refused(lambda c=cursor: c.execute("SELECT x.Nothing FROM dbo.v_Site AS x"), "207")

        for connect in (freetds, python_tds):
            refused(lambda c=connect: c(password="wrong"), "18456")
            refused(lambda c=connect: c(database="CM_XXX"), "18456")
        # Without encryption but for the login, and without any.
        for encryption in ("request", "off"):
            plain = freetds(encryption=encryption)
            assert run(plain, asked[4]) == run(one, asked[4])
    print("pymssql, python-tds and go-mssqldb read from the site database")


main()
