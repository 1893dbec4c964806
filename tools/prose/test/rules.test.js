import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lint } from '../lint.js';

/** Asserts that a document has findings of these rules, in this order, and no others. */
async function finds(text, ...rules) {
  const findings = await lint('document.md', text);
  assert.deepEqual(
    findings.map(({ ruleId }) => ruleId),
    rules,
    JSON.stringify(findings),
  );
}

const sentence = (count) => `The${' word'.repeat(count - 1)}.`;
const table = (cell) => `| key | meaning |\n| --- | --- |\n| a | ${cell} |\n`;

test('a sentence of 28 words passes and one of 29 does not', async () => {
  await finds(`${sentence(28)} ${sentence(28)}`);
  await finds(`${sentence(28)} ${sentence(29)}`, 'sentence-length');
});

test('a table cell of 25 words passes and one of 26 does not', async () => {
  await finds(table(`${sentence(12)} ${sentence(13)}`));
  await finds(table(`${sentence(13)} ${sentence(13)}`), 'cell-length');
});

test('a sentence opens with its subject and a question with its question word', async () => {
  await finds('What the poller deletes is not redelivered.', 'opening');
  await finds('Nothing is written before the lease ends.', 'opening');
  await finds('The queue does not redeliver deleted messages. Which messages are these?');
  await finds('Whatever the order is, it is kept.', 'opening');
});

test('labels in lower case and answers of a few words are no sentences', async () => {
  await finds('| stage | cache |\n| --- | --- |\n| which one it has | Nothing. |\n');
});

test('a noun stands in place of a clause', async () => {
  await finds('The step deletes what it finds in Redis.', 'noun-clause');
  await finds('The token says who asks for the view.', 'noun-clause');
  await finds('The cache is one that nobody can flush.', 'noun-clause');
  await finds('The step deletes stale Redis entries. The token names the caller. You cannot flush the cache.');
});

test('words of older English are found', async () => {
  await finds('The entries of lists are versioned likewise.', 'archaism');
  await finds('The header is spelt as RFC 9110 has it.', 'archaism');
  await finds('The entries of lists are versioned too. The step deletes stale entries.');
});

test('a condition is no place', async () => {
  await finds('The stage answers 409, where the version differs.', 'where-for-if');
  await finds('The stage answers 409 if the version differs. The table is where the views are.');
});

test('code, addresses, headings and quoted examples do not count', async () => {
  await finds('# What is kept by nobody\n\nWrite `what is wrong likewise` for that.');
  await finds('See [the table](where-the/what-is/nobody.md), or https://example.org/what-is/nobody for more.');
  await finds('The answer is "what is wrong likewise" for such keys.');
  await finds('```\nWhat is wrong is told to nobody.\n```');
  await finds('> What is wrong is told to nobody.');
});

test('markup does not hide a sentence', async () => {
  await finds('**What is wrong** ends by itself.', 'noun-clause', 'opening');
  await finds('- Item\n- [Nobody](a.md) reads *this* list.', 'noun-clause', 'opening');
});

test('numbers, units and abbreviations do not hide the end of a sentence', async () => {
  for (const end of ['6', '50 ms', '`false`', '**bold**', 'a (note)']) {
    await finds(`The ${'word '.repeat(19)}${end}. ${sentence(20)}`);
  }
  await finds(`Some stores, e.g. Redis, ${'word '.repeat(24)}end.`, 'sentence-length');
});

test('a finding names its line and column', async () => {
  const [{ line, column }] = await lint(
    'document.md',
    'One line.\n\nThe first *sentence*\nends. Nobody can\nread this.\n',
  );
  assert.deepEqual({ line, column }, { line: 4, column: 7 });
});

test('each message says how to write instead', async () => {
  const text = `${sentence(29)} What is wrong is spelt likewise, where the key is.\n\n${table(sentence(26))}`;
  const messages = (await lint('document.md', text)).map(({ message }) => message);
  assert.equal(messages.length, 6, messages.join('\n'));
  assert.match(messages[0], /29 words.*split it/);
  for (const message of messages) assert.match(message, /: ./);
});
