/** The last values of one curve, four bytes each. A step of which nothing was said has none. */
export interface Ring {
  /** Steps never go back. */
  set(step: number, value: number | null): void;
  /** Of these steps, both included; null: not known. Three digits are enough to draw them. */
  from(first: number, last: number): (number | null)[];
}

export function createRing(length: number): Ring {
  const values = new Float32Array(length).fill(Number.NaN);
  let latest = -1;

  return {
    set(step, value) {
      // What was not said is forgotten all the same.
      for (let gone = Math.max(latest + 1, step - length + 1); gone < step; gone++) values[gone % length] = Number.NaN;
      values[step % length] = value ?? Number.NaN;
      latest = step;
    },
    from(first, last) {
      return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => {
        const step = first + i;
        if (step > latest || step <= latest - length) return null;
        const value = values[step % length];
        return Number.isNaN(value) ? null : Number(value.toPrecision(3));
      });
    },
  };
}
