export function generateReportTypes(): Promise<string>;
