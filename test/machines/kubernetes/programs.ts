import { execa } from 'execa';

const BUILD = new URL('build', import.meta.url).pathname;

/** Where Kubernetes' programs are. The first time they are built, which takes minutes: see the script. */
export async function kubernetesPrograms(): Promise<string> {
  return (await execa(BUILD, { stderr: 'inherit' })).stdout.trim();
}
