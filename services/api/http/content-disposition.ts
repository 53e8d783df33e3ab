/** File names in headers: RFC 6266 with an RFC 8187 form for what ASCII cannot say, and the reverse for uploads. */

/** `attachment; filename="…"; filename*=UTF-8''…` */
export function attachment(name: string): string {
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(name).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  return plain === name ? `attachment; filename="${plain}"` : `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

/** The last part of a client's file name, without control characters; null when nothing is left. */
export function plainFileName(name: string | undefined): string | null {
  const last = (name ?? '').normalize('NFC').split(/[/\\]/).at(-1) ?? '';
  const clean = last
    .replace(/\p{Cc}/gu, '')
    .trim()
    .slice(0, 255);
  return clean === '' || clean === '.' || clean === '..' ? null : clean;
}
