import { phraseRule } from '../sentences.js';

export default phraseRule(
  /\b(nobody|somebody|whom|whoever|who (has|is|asks?|wants?)|what (there )?(is|was|were|has|have|had|can|must|may|came|goes|comes?|ends?|fails?|waits?|differs?)|what (it|they|he|she|one|nobody|somebody))\b/i,
  'name the thing or the person with a noun ("the error", "the caller"), or say "no client", "no code"',
);
