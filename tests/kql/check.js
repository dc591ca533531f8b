// Every KQL text that cmsync writes passes Microsoft's own language service, against the schemas of the
// real tables, with no diagnostics. Reads the texts as JSON from a file: `node check.js texts.json`.

const fs = require("fs");
const path = require("path");

// The service is two scripts for a browser: they find each other through globals.
const modules = process.env.CMSYNC_NODE_MODULES;
const service = path.join(modules, "@kusto/language-service-next");
require(path.join(service, "bridge.min.js"));
require(path.join(service, "Kusto.Language.Bridge.min.js"));

const { texts, tables, odd } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const language = Kusto.Language;

function state() {
  const symbols = Object.entries(tables).map(([name, columns]) =>
    language.Symbols.TableSymbol.From(`(${columns})`).WithName(name));
  const database = new language.Symbols.DatabaseSymbol.ctor(
    "workspace", System.Array.init(symbols, language.Symbols.Symbol));
  return language.GlobalState.Default.WithDatabase(database);
}

function diagnostics(text, globals) {
  const found = language.KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, i) => {
    const one = found.getItem(i);
    return `${one.Severity} ${one.Code} at ${one.Start}: ${one.Message}`;
  });
}

function columns(text, globals) {
  const result = language.KustoCode.ParseAndAnalyze(text, globals).ResultType;
  const list = result.Columns;
  return Array.from({ length: list.Count }, (_, i) => list.getItem(i).Name);
}

let failures = 0;
function expect(what, found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    failures += 1;
    console.error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
  }
}

const globals = state();
const former = ["Computer", "Group", "GroupFullName", "GroupId", "GroupSource", "GroupSourceName", "TimeGenerated"];
const answers = {
  highest_seq: ["Seq"],
  sums: ["GroupId", "Group", "Count", "Sum"],
  snapshots: ["StartSeq", "Seq", "MemberCount", "Status", "Group", "Came"],
  changes: ["Seq", "ResourceId", "Computer", "Action"],
  computer: ["Seq", "GroupId", "Group", "Action"],
  members: ["ResourceId", "Computer", "NetbiosName"],
  instances: ["Instance", "First", "Last"],
  errors: ["Message", "Count"],
  large_body: ["Count"],
};
for (const [name, text] of Object.entries(texts)) {
  expect(name, diagnostics(text, globals), []);
  const wanted = name.startsWith("all") ? former : answers[name.replace("_odd", "")] ?? ["Computer"];
  expect(`${name}: columns`, columns(text, globals), wanted);
}
// One statement each: nothing got out of its literal.
const literals = new Set();
const parsed = language.KustoCode.ParseAndAnalyze(texts.static, globals).Syntax;
language.Syntax.SyntaxElement.WalkNodes(parsed, (node) => {
  if (node.Kind === language.Syntax.SyntaxKind.StringLiteralExpression) literals.add(node.LiteralValue);
});
expect("static: its literals", literals.has(odd), true);
// By its alias, as people use it: the workspace makes a function of each text.
const called = (alias, text, use) => `let ${alias} = () { ${text} };\n${alias} | ${use}`;
expect("alias", diagnostics(called("CMG_CAS_PS100014", texts.group_both, "distinct Computer"), globals), []);
const ofOne = "where Group == 'a' | distinct Computer";
expect("alias of all", diagnostics(called("ConfigMgrComputerGroup", texts.all_both, ofOne), globals), []);
// The documentation's queries, where the workspace has the functions that they name.
const functions = ["CMG_CAS_PS100014", "ConfigMgrComputerGroup"].map((alias, i) =>
  `let ${alias} = () { ${[texts.group_both, texts.all_both][i]} };\n`).join("");
const docs = path.join(__dirname, "../../docs");
let queries = 0;
for (const page of fs.readdirSync(docs).filter((name) => name.endsWith(".md"))) {
  const blocks = fs.readFileSync(path.join(docs, page), "utf8").matchAll(/^```kusto\n(.*?)^```$/gms);
  for (const [, text] of blocks) {
    queries += 1;
    expect(`${page}: ${text}`, diagnostics(functions + text, globals), []);
  }
}
expect("queries in the documentation", queries > 9, true);
// And the check itself can fail.
expect("a wrong column is found", diagnostics("ConfigMgrCollection_CL | project Nothing", globals).length, 1);
console.log(failures ? `${failures} failures` : `${Object.keys(texts).length} texts pass`);
process.exit(failures ? 1 : 0);
