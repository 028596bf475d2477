import type { CommandWords, Flag, Word } from './completion.js';

/**
 * Completion scripts, one function for each shell. All do the same: walk over the words before the cursor to know the
 * command, skipping the values of flags; then offer the value of the flag before the cursor, or what the command takes.
 */
export function bashScript(commands: readonly CommandWords[]): string {
  const { withValue, choices, files } = flagsOf(commands);
  return `# bash completion of rudder, made by "rudder completion bash"
_rudder() {
  local command=rudder words= flags= i
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  # --flag=value is three words to bash.
  [ "$current" != = ] || current=
  [ "$previous" != = ] || previous=\${COMP_WORDS[COMP_CWORD - 2]}
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      --) return ;;
      ${withValue.join(' | ')})
        [ "\${COMP_WORDS[i + 1]}" != = ] || i=$((i + 1))
        i=$((i + 1))
        ;;
      *)
        case "$command \${COMP_WORDS[i]}" in
          ${pathsOf(commands).join(' | ')}) command="$command \${COMP_WORDS[i]}" ;;
        esac
        ;;
    esac
  done
  case $previous in
${choices.map(({ text, value }) => `    ${text}) words=${quoted(value.join(' '))} ;;`).join('\n')}
    ${files.join(' | ')})
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    ${withValue.join(' | ')}) return ;;
    *)
      case $command in
${commands
  .map(
    (command) =>
      `        ${quoted(command.path)}) words=${quoted(texts(wordsOf(command)))} flags=${quoted(texts(withShort(command.flags)))} ;;`,
  )
  .join('\n')}
      esac
      [[ $current != -* ]] || words=$flags
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _rudder rudder
`;
}

export function zshScript(commands: readonly CommandWords[]): string {
  const { withValue, choices, files } = flagsOf(commands);
  const described = (words: readonly Word[]) =>
    words.map(({ text, description }) => quoted(`${text}:${description}`)).join(' ');
  return `#compdef rudder
# zsh completion of rudder, made by "rudder completion zsh"
_rudder() {
  local command=rudder previous=$words[CURRENT-1] i
  local -a offered flags
  for ((i = 2; i < CURRENT; i++)); do
    case $words[i] in
      --) return ;;
      ${withValue.join(' | ')}) ((i++)) ;;
      *)
        case "$command $words[i]" in
          ${pathsOf(commands).join(' | ')}) command="$command $words[i]" ;;
        esac
        ;;
    esac
  done
  if [[ $PREFIX == --*=* ]]; then
    previous=\${PREFIX%%=*}
    compset -P '*='
  fi
  case $previous in
${choices.map(({ text, value }) => `    ${text}) compadd -- ${value.join(' ')}; return ;;`).join('\n')}
    ${files.join(' | ')}) _files; return ;;
    ${withValue.join(' | ')}) return ;;
  esac
  case $command in
${commands
  .map(
    (command) =>
      `    ${quoted(command.path)}) offered=(${described(wordsOf(command))}) flags=(${described(withShort(command.flags))}) ;;`,
  )
  .join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe -o option flags
  else
    _describe word offered
  fi
}
# Found through fpath it is called at once, sourced it is only made known.
if [ "$funcstack[1]" = _rudder ]; then _rudder "$@"; else compdef _rudder rudder; fi
`;
}

export function fishScript(commands: readonly CommandWords[]): string {
  const { withValue } = flagsOf(commands);
  const lines = commands.flatMap((command) => {
    const start = `complete -c rudder -n ${fishQuoted(`test (__rudder_command) = "${command.path}"`)}`;
    return [
      ...command.words.map(({ text, description }) => `${start} -a ${text} -d ${fishQuoted(description)}`),
      ...command.flags.map(({ text, description, value, short }) => {
        const behind =
          typeof value === 'string'
            ? { none: '', file: ' -r -F', other: ' -x' }[value]
            : ` -x -a ${fishQuoted(value.join(' '))}`;
        const letter = short === undefined ? '' : ` -s ${short.slice(1)}`;
        return `${start} -l ${text.slice(2)}${letter}${behind} -d ${fishQuoted(description)}`;
      }),
    ];
  });
  return `# fish completion of rudder, made by "rudder completion fish"
function __rudder_command
  set -l command rudder
  set -l skip no
  for word in (commandline -opc)[2..]
    if test $skip = yes
      set skip no
      continue
    end
    switch "$word"
      case ${withValue.join(' ')}
        set skip yes
      case '*'
        switch "$command $word"
          case ${pathsOf(commands).join(' ')}
            set command "$command $word"
        end
    end
  end
  echo $command
end
complete -c rudder -f
${lines.join('\n')}
`;
}

/** The flags that take a value, by what it is. A flag takes the same whatever the command. */
function flagsOf(commands: readonly CommandWords[]) {
  const flags = [...new Map(commands.flatMap((command) => command.flags.map((flag) => [flag.text, flag]))).values()];
  return {
    withValue: flags.filter(({ value }) => value !== 'none').map(({ text }) => text),
    choices: flags.filter((flag): flag is Flag & { value: readonly string[] } => typeof flag.value !== 'string'),
    files: flags.filter(({ value }) => value === 'file').map(({ text }) => text),
  };
}

/** Of all commands but `rudder` itself, in quotes. */
function pathsOf(commands: readonly CommandWords[]): string[] {
  return commands.slice(1).map(({ path }) => quoted(path));
}

/** Flags are offered once a "-" is there, or where nothing else can stand. */
function wordsOf({ words, flags, takesArguments }: CommandWords): readonly Word[] {
  return words.length === 0 && !takesArguments ? flags : words;
}

/** A short flag stands behind its long one. */
function withShort(flags: readonly Flag[]): Word[] {
  return flags.flatMap(({ text, description, short }) =>
    [text, ...(short === undefined ? [] : [short])].map((spelling) => ({ text: spelling, description })),
  );
}

const texts = (words: readonly Word[]) => words.map(({ text }) => text).join(' ');
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const fishQuoted = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`;
