import { describePeers } from '../e2e/peers-suite.js';

describePeers('vxlan');
