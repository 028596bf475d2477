import { errnoOf, messageOf, RudderError, shorten } from '../../core/errors.js';

/** What the API has answered instead of what was asked for. */
export class ApiError extends RudderError {
  constructor(
    code: 'registry-unavailable' | 'registry-refused',
    message: string,
    readonly status: number,
  ) {
    super(code, message);
  }
}

export const hasStatus = (error: unknown, ...statuses: number[]) =>
  error instanceof ApiError && statuses.includes(error.status);

/** A right, as RBAC names it. */
export interface Right {
  readonly verb: string;
  /** With its sub-resource, such as `nodes/status`. */
  readonly resource: string;
}

/** What Node.js says of certificates, in our words. */
const CERTIFICATE_PROBLEMS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: is the clock of this host right?',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by the CA that we know',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by the CA that we know',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by the CA that we know',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by the CA that we know',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is not signed by the CA that we know',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by the CA that we know',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is of another name',
};

/** No answer has come. @param isService it is the service's address, which needs kube-proxy */
export function unreachable(server: string, error: unknown, isService: boolean): RudderError {
  const at = `the Kubernetes API at ${server}`;
  const problem = CERTIFICATE_PROBLEMS[errnoOf(error) ?? ''];
  if (problem !== undefined) {
    return new RudderError(
      'registry-refused',
      `${at}: ${problem}; expected the one of this cluster; put its CA into the kubeconfig, or into the service account's ca.crt`,
      { cause: error },
    );
  }
  const text = messageOf(error);
  if (/wrong version number|packet length too long|EPROTO/.test(text)) {
    return new RudderError(
      'registry-refused',
      `${at} does not speak TLS: expected an API server; correct --kube-api-url or the kubeconfig's server`,
      { cause: error },
    );
  }
  const remedy = isService
    ? '; that is its service address, which works once kube-proxy does: --kube-api-url names the server itself'
    : '';
  return new RudderError('registry-unavailable', `${at} cannot be reached: ${text}${remedy}`, { cause: error });
}

/** An answer that is none of what was asked for. @param said the body, a Status of Kubernetes mostly */
export function answered(server: string, status: number, said: string, right: Right): ApiError {
  const at = `the Kubernetes API at ${server}`;
  const reason = reasonIn(said);
  if (status === 401) {
    return new ApiError(
      'registry-refused',
      `${at} does not know us (401): expected a valid token or client certificate; look at the pod's service account, or at the kubeconfig`,
      status,
    );
  }
  if (status === 403) {
    return new ApiError(
      'registry-refused',
      `${at} forbids us to ${right.verb} ${right.resource} (403): expected that right; add the verb "${right.verb}" for "${right.resource}" to the ClusterRole of our service account`,
      status,
    );
  }
  const isOurs = status >= 400 && status < 500 && ![404, 408, 409, 410, 429].includes(status);
  const told = reason === '' ? '' : `: ${reason}`;
  return new ApiError(
    isOurs ? 'registry-refused' : 'registry-unavailable',
    `${at} answers ${status} to ${right.verb} ${right.resource}${told}`,
    status,
  );
}

/** The message of a Status. What else a body holds may be anything, a secret too. */
function reasonIn(said: string): string {
  try {
    const { kind, message } = JSON.parse(said) as { kind?: unknown; message?: unknown };
    return kind === 'Status' && typeof message === 'string' ? shorten(message, 200) : '';
  } catch {
    return '';
  }
}
