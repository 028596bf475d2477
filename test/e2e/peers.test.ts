import { describePeers } from './peers-suite.js';

describePeers('udp');
