/** Size of the input batch [N, C, H, W], without its channels. */
export interface InputSize {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}
