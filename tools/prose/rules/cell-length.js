import { cellRule, words } from '../sentences.js';

const MAX = 25;

export default cellRule((text) => {
  const count = words(text);
  return count > MAX && `a table cell of ${count} words: cut it to ${MAX}, or move the rest below the table`;
});
