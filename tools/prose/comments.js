import markdown from './markdown.js';

/** A line comment, alone or after code. Code with a quote is passed over, because its `//` may stand in a string. */
const LINE = /^((?:[^"'`]*?\s)?\/\/[/!]? ?)(.*)$/;
const BLOCK_START = /^(\s*\/\*\*? ?)(.*)$/;
const BLOCK_LINE = /^(\s*(?:\*(?!\/) ?)?)(.*)$/;
const BLOCK_END = /\s*\*\/.*$/;

/**
 * Returns the comments of a source file as Markdown: `{ text, indents }`. Each line stays at its number, and lines of code
 * are empty. An indent is the number of characters that were cut off the line's beginning.
 */
export function extract(source) {
  let inBlock = false;
  const lines = source.split('\n').map((line) => {
    const start = inBlock ? BLOCK_LINE.exec(line) : BLOCK_START.exec(line);
    const [, before, comment] = start ?? LINE.exec(line) ?? [line, line, ''];
    inBlock = start !== null && !BLOCK_END.test(line);
    return { text: start ? comment.replace(BLOCK_END, '') : comment, indent: before.length };
  });
  return { text: lines.map(({ text }) => text).join('\n'), indents: lines.map(({ indent }) => indent) };
}

/** A plugin of textlint. It reads comments as Markdown, and reports lines and columns of the source file. */
class CommentsProcessor {
  // A field, because textlint calls `processor()` twice for a file: before the rules, and after them.
  indents = [];

  availableExtensions() {
    return ['.rs', '.ts', '.js'];
  }

  processor() {
    return {
      preProcess: (source) => {
        const { text, indents } = extract(source);
        this.indents = indents;
        return { text, ast: new markdown.Processor().processor('.md').preProcess(text) };
      },
      postProcess: (messages, filePath) => ({
        messages: messages.map((message) => ({ ...message, column: message.column + this.indents[message.line - 1] })),
        filePath,
      }),
    };
  }
}

export default { Processor: CommentsProcessor };
