// Checks the sentences of documents and comments. Usage: node check.js [FILE…], without files: all of the repository.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lint } from './lint.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
// The changelog keeps the words of its time, and `make evolution-report` writes the report.
const CHECKED = ['*.md', '*.rs', '*.ts', '*.js', ':!CHANGELOG.md', ':!docs/evolution/report.md'];

function repository() {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...CHECKED], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const files = list.split('\0').filter((path) => path && existsSync(resolve(ROOT, path)));
  if (files.length === 0) throw new Error(`${ROOT} has no documents and no source files`);
  return files;
}

const args = process.argv.slice(2);
const files = args.length > 0 ? args.map((path) => resolve(path)) : repository();
let count = 0;
for (const path of files) {
  for (const { line, column, message, ruleId } of await lint(path, readFileSync(resolve(ROOT, path), 'utf8'))) {
    console.log(`${path}:${line}:${column}: ${message} (${ruleId})`);
    count += 1;
  }
}
if (count > 0) {
  const findings = count === 1 ? '1 finding' : `${count} findings`;
  console.log(`${findings}. Rewrite the sentences: the rules in tools/prose/rules have no exceptions.`);
  process.exitCode = 1;
}
