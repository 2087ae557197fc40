import java.util.LinkedHashMap;
import java.util.Map;

/** One line of the test's: a word, and members with a tab before each. What is written back has the same form. */
final class Asked {
    final String verb;
    private final Map<String, String> members = new LinkedHashMap<>();

    Asked(String line) {
        String[] parts = line.split("\t");
        verb = parts[0];
        for (int i = 1; i < parts.length; i++) {
            int at = parts[i].indexOf('=');
            members.put(parts[i].substring(0, at), parts[i].substring(at + 1));
        }
    }

    boolean has(String member) {
        return members.containsKey(member);
    }

    boolean yes(String member) {
        return "yes".equals(members.get(member));
    }

    /** null when it is not there. */
    String get(String member) {
        return members.get(member);
    }

    String need(String member) {
        if (!has(member))
            throw new IllegalArgumentException(verb + " needs " + member);
        return members.get(member);
    }

    int number(String member, int otherwise) {
        return has(member) ? Integer.parseInt(members.get(member)) : otherwise;
    }
}
