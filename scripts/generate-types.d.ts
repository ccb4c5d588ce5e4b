export function generateReportTypes(): Promise<Record<string, string>>;
