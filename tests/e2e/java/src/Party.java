import com.siemens.pki.cmpracomponent.configuration.CmpMessageInterface;
import com.siemens.pki.cmpracomponent.configuration.CredentialContext;
import com.siemens.pki.cmpracomponent.configuration.NestedEndpointContext;
import com.siemens.pki.cmpracomponent.configuration.SharedSecretCredentialContext;
import com.siemens.pki.cmpracomponent.configuration.SignatureCredentialContext;
import com.siemens.pki.cmpracomponent.configuration.VerificationContext;
import java.nio.charset.StandardCharsets;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.Collection;
import java.util.List;

/** Who speaks and whom it believes, as Siemens' library wants to be told. */
final class Party {
    private Party() {}

    static SignatureCredentialContext signer(String keyFile, String certsFile) throws Exception {
        PrivateKey key = Pem.key(keyFile);
        List<X509Certificate> chain = Pem.certs(certsFile);
        return new SignatureCredentialContext() {
            @Override
            public List<X509Certificate> getCertificateChain() {
                return chain;
            }

            @Override
            public PrivateKey getPrivateKey() {
                return key;
            }
        };
    }

    /** mac: PBMAC1 or PASSWORDBASEDMAC. bits: of the key that PBMAC1 makes of the secret. */
    static SharedSecretCredentialContext secret(String reference, String secret, String mac, int bits) {
        return new SharedSecretCredentialContext() {
            @Override
            public String getPasswordBasedMacAlgorithm() {
                return mac;
            }

            @Override
            public int getkeyLength() {
                return bits;
            }

            @Override
            public byte[] getSenderKID() {
                return reference.getBytes(StandardCharsets.US_ASCII);
            }

            @Override
            public byte[] getSharedSecret() {
                return secret.getBytes(StandardCharsets.US_ASCII);
            }
        };
    }

    /** anchors: trusted; secret: of who answers with a MAC, or null. */
    static VerificationContext trust(Collection<X509Certificate> anchors, String secret) {
        return new VerificationContext() {
            @Override
            public Collection<X509Certificate> getTrustedCertificates() {
                return anchors;
            }

            @Override
            public byte[] getSharedSecret(byte[] senderKid) {
                return secret == null ? null : secret.getBytes(StandardCharsets.US_ASCII);
            }
        };
    }

    static NestedEndpointContext around(CredentialContext by, VerificationContext trust) {
        return new NestedEndpointContext() {
            @Override
            public VerificationContext getInputVerification() {
                return trust;
            }

            @Override
            public CredentialContext getOutputCredentials() {
                return by;
            }

            @Override
            public boolean isIncomingRecipientValid(String recipient) {
                return true;
            }
        };
    }

    static CmpMessageInterface side(CredentialContext speaks, VerificationContext believes, NestedEndpointContext nested,
            CmpMessageInterface.ReprotectMode mode) {
        return new CmpMessageInterface() {
            @Override
            public VerificationContext getInputVerification() {
                return believes;
            }

            @Override
            public NestedEndpointContext getNestedEndpointContext() {
                return nested;
            }

            @Override
            public CredentialContext getOutputCredentials() {
                return speaks;
            }

            @Override
            public ReprotectMode getReprotectMode() {
                return mode;
            }

            @Override
            public boolean getSuppressRedundantExtraCerts() {
                return false;
            }

            @Override
            public boolean isCacheExtraCerts() {
                return false;
            }

            @Override
            public boolean isMessageTimeDeviationAllowed(long seconds) {
                return Math.abs(seconds) < 60;
            }
        };
    }
}
