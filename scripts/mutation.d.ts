/** A mutant that no test kills, by what it changes, and why it is left. */
export interface Explanation {
  readonly file: string;
  /** The line that it begins in. */
  readonly line: string;
  /** Code => what it is replaced by; long code is cut. One, or several of this line. */
  readonly mutant: string | readonly string[];
  readonly why: string;
}

export interface Survivor {
  readonly file: string;
  readonly line: string;
  readonly mutant: string;
  readonly why: string | undefined;
}

interface Position {
  readonly line: number;
  readonly column: number;
}

/** What is read of Stryker's report: lines and columns count from 1, the end is not included. */
export interface MutationReport {
  readonly files: Readonly<
    Record<
      string,
      {
        readonly source: string;
        readonly mutants: readonly {
          readonly status: string;
          readonly replacement: string;
          readonly location: { readonly start: Position; readonly end: Position };
        }[];
      }
    >
  >;
}

export interface Judgement {
  readonly files: readonly {
    readonly file: string;
    readonly killed: number;
    readonly timedOut: number;
    readonly survived: number;
  }[];
  readonly survivors: readonly Survivor[];
  /** Survivors without an explanation, explanations without a survivor. */
  readonly problems: readonly string[];
}

export function judge(report: MutationReport, explained: readonly Explanation[]): Judgement;
export function toMarkdown(judgement: Judgement, minutes: number): string;
