import { sentenceRule, words } from '../sentences.js';

const MAX = 28;

export default sentenceRule((text) => {
  const count = words(text);
  return count > MAX && `a sentence of ${count} words: split it, or cut it to ${MAX} (25 is the goal)`;
});
