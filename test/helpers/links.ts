import { posix } from 'node:path';

/** What leads nowhere in pages of Markdown, as `page: target`. @param files all that there are @param read the text of one of them */
export function deadLinks(files: readonly string[], read: (file: string) => string): string[] {
  const pages = new Map(files.filter((file) => file.endsWith('.md')).map((file) => [file, read(file)]));
  return [...pages].flatMap(([page, text]) =>
    targetsIn(text)
      .filter((target) => !leadsSomewhere(target, page))
      .map((target) => `${page}: ${target}`),
  );

  function leadsSomewhere(target: string, page: string): boolean {
    const [path, anchor] = target.split('#');
    const file = path === '' ? page : posix.join(posix.dirname(page), path);
    if (!files.includes(file)) return false;
    return anchor === undefined || anchorsOf(pages.get(file) ?? '').includes(anchor);
  }
}

const withoutCode = (text: string) => text.replace(/^```.*?^```/gms, '');

const targetsIn = (text: string) =>
  [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target)
    .filter((target) => !/^\w+:/.test(target));

/** As a browser of Markdown makes them of headings. */
const anchorsOf = (text: string) =>
  [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/\]\([^)]*\)/g, '')
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
