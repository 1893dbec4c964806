import { extname } from 'node:path';
import kernel from '@textlint/kernel';
import markdown from './markdown.js';
import archaism from './rules/archaism.js';
import cellLength from './rules/cell-length.js';
import nounClause from './rules/noun-clause.js';
import opening from './rules/opening.js';
import sentenceLength from './rules/sentence-length.js';
import whereForIf from './rules/where-for-if.js';
import comments from './comments.js';

const RULES = {
  archaism,
  'cell-length': cellLength,
  'noun-clause': nounClause,
  opening,
  'sentence-length': sentenceLength,
  'where-for-if': whereForIf,
};
const OPTIONS = {
  plugins: [
    { pluginId: 'markdown', plugin: markdown },
    { pluginId: 'comments', plugin: comments },
  ],
  rules: Object.entries(RULES).map(([ruleId, rule]) => ({ ruleId, rule })),
};

/** Returns the findings in a document or source file as `{ line, column, ruleId, message }`. */
export async function lint(path, text) {
  const result = await new kernel.TextlintKernel().lintText(text, { filePath: path, ext: extname(path), ...OPTIONS });
  return result.messages.map(({ line, column, ruleId, message }) => ({ line, column, ruleId, message }));
}
