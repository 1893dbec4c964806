import { phraseRule } from '../sentences.js';

export default phraseRule(
  /^(What|Whatever|Which|Whichever|Who|Whoever|Whom|Whose|Where|Wherever|Nobody|Somebody|None of|Nothing)\b(?!.*\?$)/s,
  'open with the subject, a noun that readers search for, or with "if"',
);
