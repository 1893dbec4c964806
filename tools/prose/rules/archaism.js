import { phraseRule } from '../sentences.js';

export default phraseRule(
  /\b(likewise|thereof|by and by|spelt|be it|it is they|is told|are told|tells? of|told of|as \w+ has it|rid of|(is|are) of no|in the place of)\b/i,
  'use the ordinary word and order: "also", "instead of", "as RFC 9110 says", "without"',
);
