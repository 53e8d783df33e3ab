/** report.html: the report as a page of one file, without scripts: what a person looks at first. report.json has all of it. */
import { page } from './html-report/page.js';
import type { CompressionReport } from './report.js';

/** Names and texts of the report may be anything; they appear as text. Long lists are cut to what is worst, with a count. */
export function renderHtmlReport(report: CompressionReport): string {
  return page(report).text;
}
