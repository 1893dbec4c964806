import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CHECK = fileURLToPath(new URL('../check.js', import.meta.url));

test('a finding fails the check and a clean file passes it', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'prose-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const [good, bad] = ['good.md', 'bad.rs'].map((name) => join(folder, name));
  writeFileSync(good, 'The poller deletes the message.\n');
  writeFileSync(bad, '// The message is deleted likewise.\n');
  const check = (...files) => spawnSync(process.execPath, [CHECK, ...files], { encoding: 'utf8' });
  assert.deepEqual([check(good).status, check(good).stdout], [0, '']);
  const { status, stdout } = check(good, bad);
  assert.equal(status, 1);
  assert.ok(stdout.startsWith(`${bad}:1:4: "likewise": `), stdout);
  assert.match(stdout, /\n1 finding\. /);
});
