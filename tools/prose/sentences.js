import { split } from 'sentence-splitter';

/** Inline nodes whose children are prose. Any other node is code, an address or markup. */
const TRANSPARENT = ['Paragraph', 'TableCell', 'Emphasis', 'Strong', 'Delete', 'Link', 'LinkReference'];
const ADDRESS = /^<?https?:\/\/\S+$/;
const QUOTATION = /"[^"]+"|“[^”]+”/g;
/** The last digit before a full stop. The splitter takes `6.` for the number of a list item, and does not split there. */
const FINAL_DIGIT = /\d(?=\.\s)/g;
/** The splitter's own lists have titles such as `Ms.`, and would not split after `50 ms.`. */
const LANGUAGE = {
  ABBREVIATIONS: ['etc.'],
  PREPOSITIVE_ABBREVIATIONS: ['e.g.', 'i.e.', '(e.g.', '(i.e.'],
  EXCLAMATION_WORDS: [],
};

/** Returns one word of the same length, so that offsets stay valid. */
const placeholder = (text) => 'X'.padEnd(text.length, 'x');

/**
 * Returns the source of a node as prose of the same length: blanks instead of markup, and one word instead of each code
 * span, bare address and quotation.
 */
function prose(node, source) {
  const start = node.range[0];
  let text = source.slice(...node.range).replace(/\S/g, ' ');
  const put = ([from, to], part) => (text = text.slice(0, from - start) + part + text.slice(to - start));
  const visit = (node) => {
    const part = source.slice(...node.range);
    if (node.type === 'Code' || ADDRESS.test(part)) put(node.range, placeholder(part));
    else if (node.type === 'Str') put(node.range, part);
    else if (TRANSPARENT.includes(node.type)) node.children.forEach(visit);
  };
  visit(node);
  return text.replace(QUOTATION, placeholder).replace(FINAL_DIGIT, 'x');
}

/** Returns the number of words in a text. A token without letter or digit, such as a dash, does not count. */
export function words(text) {
  return text.split(/\s+/).filter((token) => /[\p{L}\p{N}]/u.test(token)).length;
}

const known = new WeakMap();

/**
 * Returns the sentences of a paragraph or cell as `{ text, offset }`. The offset counts from the node's first character.
 * All rules share one result, because splitting takes most of the time.
 */
function sentences(node, source) {
  if (!known.has(node)) {
    const text = prose(node, source);
    const parts = split(text, { AbbrMarker: { language: LANGUAGE } }).filter(({ type }) => type === 'Sentence');
    const found = parts.map(({ range: [start, end] }) => ({ text: text.slice(start, end), offset: start }));
    known.set(node, found);
  }
  return known.get(node);
}

/**
 * Returns a rule of textlint. It calls `look(sentence)` for each sentence, and reports the message that it returns. The
 * sentences of headings and block quotes do not count.
 */
export function sentenceRule(look) {
  return ({ Syntax, RuleError, getSource, locator, report }) => {
    const visit = (node) => {
      if (node.parent.type === Syntax.BlockQuote) return;
      for (const { text, offset } of sentences(node, getSource())) {
        const message = look(text);
        if (message) report(node, new RuleError(message, { padding: locator.range([offset, offset + 1]) }));
      }
    };
    return { [Syntax.Paragraph]: visit, [Syntax.TableCell]: visit };
  };
}

/** Returns a rule that reports the first match of a pattern in each sentence of at least four words. */
export function phraseRule(pattern, advice) {
  return sentenceRule((text) => {
    const found = words(text) >= 4 && pattern.exec(text);
    return found && `"${found[0].trim()}": ${advice}`;
  });
}

/** Returns a rule that reports table cells by their text. */
export function cellRule(look) {
  return ({ Syntax, RuleError, getSource, report }) => ({
    [Syntax.TableCell](node) {
      const message = look(prose(node, getSource()));
      if (message) report(node, new RuleError(message));
    },
  });
}
