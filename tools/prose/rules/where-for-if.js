import { phraseRule } from '../sentences.js';

export default phraseRule(
  /(^|[,;:]\s+)where\s+(it|this|that|there|a|an|the|one|no|nothing)\b/i,
  'a condition is "if" or "when"; "where" is for places',
);
