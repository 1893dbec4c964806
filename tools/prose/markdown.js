import plugin from '@textlint/textlint-plugin-markdown';

/** The plugin of textlint for Markdown. It is a CommonJS module, so its default export is one level down. */
export default plugin.default;
