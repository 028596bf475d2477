/** Of words that there are, the one that somebody probably meant by a word that there is not; in any case. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const mistakes = (candidate: string) => distance(word.toLowerCase(), candidate.toLowerCase());
  // Longer ones are no slips of a finger, and the comparison takes the product of both lengths.
  if (word.length > MAX_LENGTH) return undefined;
  const [best] = known.toSorted((one, other) => mistakes(one) - mistakes(other));
  return best !== undefined && mistakes(best) <= Math.max(1, Math.floor(best.length / 3)) ? best : undefined;
}

const MAX_LENGTH = 80;

/** `, did you mean X?`, or nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const best = closest(word, known);
  return best === undefined ? '' : `, did you mean ${best}?`;
}

/** How many letters are missing, wrong, too many or swapped with their neighbour. */
function distance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      let least = Math.min(last[column] + 1, current[column - 1] + 1, last[column - 1] + (isSame ? 0 : 1));
      if (from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
        least = Math.min(least, beforeLast[column - 2] + 1);
      }
      current.push(least);
    }
    [beforeLast, last] = [last, current];
  }
  return last[to.length];
}
