import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extract } from '../comments.js';
import { lint } from '../lint.js';

const places = async (path, text) => (await lint(path, text)).map(({ line, column, ruleId }) => [line, column, ruleId]);

test('the comments of Rust keep their lines', () => {
  const source = [
    '//! A module.',
    '',
    '/// Returns one.',
    'fn one() -> u8 {',
    '    // The first number.',
    '    1 // Not zero.',
    '}',
  ];
  assert.deepEqual(extract(source.join('\n')).text.split('\n'), [
    'A module.',
    '',
    'Returns one.',
    '',
    'The first number.',
    'Not zero.',
    '',
  ]);
});

test('the comments of TypeScript keep their lines', () => {
  const source = [
    '/** One. */',
    'const a = 1;',
    '/**',
    ' * Two.',
    ' *',
    ' * - Three.',
    ' */',
    'const b = 2;',
    '// Four.',
  ];
  assert.deepEqual(extract(source.join('\n')).text.split('\n'), [
    'One.',
    '',
    '',
    'Two.',
    '',
    '- Three.',
    '',
    '',
    'Four.',
  ]);
});

test('a string with slashes is no comment', () => {
  assert.equal(extract('let url = "http://a.example"; // What is "this"').text, '');
  assert.equal(extract("const url = 'a // b';").text, '');
  assert.equal(extract('let half = a / b;').text, '');
});

test('findings in Rust have the lines and columns of the file', async () => {
  const doc = 'mod a {\n    /// Returns one. Nobody can\n    /// read this.\n    fn b() {}\n}\n';
  const source = `${doc}\nlet c = 1; // What is this number for.\n`;
  assert.deepEqual(await places('a.rs', source), [
    [2, 22, 'noun-clause'],
    [2, 22, 'opening'],
    [7, 15, 'noun-clause'],
    [7, 15, 'opening'],
  ]);
});

test('findings in TypeScript have the lines and columns of the file', async () => {
  const source = 'const a = 1;\n\n  /**\n   * One sentence.\n   * The rest is told likewise.\n   */\n';
  assert.deepEqual(await places('a.ts', source), [[5, 6, 'archaism']]);
});

test('examples in doc comments are code', async () => {
  assert.deepEqual(
    await places('a.rs', '/// An example:\n/// ```\n/// // What is wrong is told.\n/// ```\nfn a() {}\n'),
    [],
  );
});

test('comments with code between them are two paragraphs', async () => {
  const half = 'word '.repeat(16);
  assert.deepEqual(await places('a.rs', `// The ${half}\nlet a = 1;\n// the ${half}\n`), []);
  assert.deepEqual(await places('a.rs', `// The ${half}\n// the ${half}\n`), [[1, 4, 'sentence-length']]);
});
