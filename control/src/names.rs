//! The computers of a connection in the order of their names, to be searched, sorted and shown page by
//! page: about 60 bytes of each.

use std::ops::Range;

use cmsync_schemas::Device;
use roaring::RoaringBitmap;

use crate::views::MemberView;

/// Computers whose names are looked through at a time.
const BLOCK: usize = 1_024;
/// Behind each name, so that nothing is found across two.
const END: char = '\0';

/// All computers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// In order: the name of each, and its NetBIOS name, with an end behind each.
    text: String,
    computers: Vec<Computer>,
    sites: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Computer {
    id: u32,
    /// Where its names begin in the text, and how long they are.
    start: usize,
    computer: u32,
    netbios: u32,
    /// Of its site; 0 for none.
    site: u16,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// A part of a name, in any case.
    pub(crate) q: &'a str,
    /// Only these.
    pub(crate) ids: Option<&'a RoaringBitmap>,
    /// In the order of ResourceIDs instead of names.
    pub(crate) by_id: bool,
    /// The other way round.
    pub(crate) down: bool,
}

impl Computer {
    fn range(&self) -> Range<usize> {
        let length = self.computer as usize + self.netbios as usize + 2 * END.len_utf8();
        self.start..self.start + length
    }
}

impl Names {
    /// One more; [`Names::sort`] comes after the last.
    pub(crate) fn push(&mut self, device: &Device) {
        let (name, netbios) = (device.computer(), &device.netbios_name);
        let lengths = (u32::try_from(name.len()), u32::try_from(netbios.len()));
        let (Ok(id), (Ok(computer), Ok(length))) = (u32::try_from(device.resource_id), lengths)
        else {
            return;
        };
        let site = device.assigned_site.as_deref().unwrap_or_default();
        let site = self.site(site);
        let start = self.text.len();
        self.text.extend([name, "\0", netbios, "\0"]);
        self.computers.push(Computer { id, start, computer, netbios: length, site });
    }

    fn site(&mut self, code: &str) -> u16 {
        if self.sites.is_empty() {
            self.sites.push(String::new());
        }
        // Sites are few, and most devices are of the one before's.
        let known = self.sites.iter().rposition(|site| site == code);
        let number = known.unwrap_or_else(|| {
            self.sites.push(code.to_owned());
            self.sites.len() - 1
        });
        u16::try_from(number).unwrap_or(0)
    }

    /// Brings names and text into their order.
    pub(crate) fn sort(&mut self) {
        let text = &self.text;
        let key = |c: &Computer| {
            text.as_bytes()[c.start..c.start + c.computer as usize]
                .iter()
                .map(u8::to_ascii_lowercase)
        };
        self.computers
            .sort_unstable_by(|one, next| key(one).cmp(key(next)).then(one.id.cmp(&next.id)));
        let mut ordered = String::with_capacity(text.len());
        for computer in &mut self.computers {
            let range = computer.range();
            computer.start = ordered.len();
            ordered.push_str(text.get(range).unwrap_or_default());
        }
        self.text = ordered;
        self.computers.shrink_to_fit();
    }

    /// Where all that is looked for stands, in the order that is asked for.
    pub(crate) fn find(&self, wanted: &Wanted<'_>) -> Vec<u32> {
        let mut found = Vec::new();
        let q = wanted.q.trim().to_lowercase();
        if q.contains(END) {
            return found;
        }
        for (first, block) in (0..).step_by(BLOCK).zip(self.computers.chunks(BLOCK)) {
            let is_wanted = |c: &Computer| wanted.ids.is_none_or(|ids| ids.contains(c.id));
            let places = (first..).zip(block);
            if q.is_empty() {
                found.extend(places.filter(|(_, c)| is_wanted(c)).map(|(at, _)| at));
            } else {
                let named = self.named(&q, block);
                let both = places.zip(named).filter(|((_, c), is_named)| *is_named && is_wanted(c));
                found.extend(both.map(|((at, _), _)| at));
            }
        }
        if wanted.by_id {
            let id = |at: &u32| self.computers.get(*at as usize).map(|c| c.id);
            found.sort_unstable_by_key(id);
        }
        if wanted.down {
            found.reverse();
        }
        found
    }

    /// Which of a block have `q`, in small letters, in one of their names.
    fn named(&self, q: &str, block: &[Computer]) -> Vec<bool> {
        let mut named = vec![false; block.len()];
        let (Some(first), Some(last)) = (block.first(), block.last()) else { return named };
        let range = first.start..last.range().end;
        let text = self.text.get(range).unwrap_or_default();
        if !q.is_ascii() {
            for (is_named, computer) in named.iter_mut().zip(block) {
                let own = self.text.get(computer.range()).unwrap_or_default();
                *is_named = own.to_lowercase().contains(q);
            }
            return named;
        }
        let small = text.to_ascii_lowercase();
        let mut at = 0;
        for hit in memchr::memmem::find_iter(small.as_bytes(), q.as_bytes()) {
            let hit = first.start + hit;
            while block.get(at).is_some_and(|computer| computer.range().end <= hit) {
                at += 1;
            }
            if let Some(is_named) = named.get_mut(at) {
                *is_named = true;
            }
        }
        named
    }

    /// What stands at a place.
    pub(crate) fn view(&self, at: u32) -> Option<MemberView> {
        let computer = self.computers.get(at as usize)?;
        let mut names = self.text.get(computer.range())?.split(END);
        let site = self.sites.get(usize::from(computer.site)).filter(|site| !site.is_empty());
        Some(MemberView {
            resource_id: computer.id.into(),
            computer: names.next()?.to_owned(),
            netbios_name: names.next()?.to_owned(),
            assigned_site: site.cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[(i64, &str, Option<&str>)]) -> Names {
        let mut names = Names::default();
        for (resource_id, netbios, fqdn) in of {
            names.push(&Device {
                resource_id: *resource_id,
                netbios_name: (*netbios).to_owned(),
                fqdn: fqdn.map(ToOwned::to_owned),
                domain: None,
                assigned_site: Some(format!("S{}", resource_id % 2)),
            });
        }
        names.sort();
        names
    }

    fn found(names: &Names, wanted: &Wanted<'_>) -> Vec<String> {
        names.find(wanted).into_iter().map(|at| names.view(at).unwrap().computer).collect()
    }

    #[test]
    fn names_are_found_in_any_case_by_both_names_and_never_across_two() {
        let names = names(&[
            (3, "PC-C", Some("pc-c.contoso.com")),
            (1, "pc-A", Some("PC-a.contoso.com")),
            (2, "PC-B", None),
            (9, "MÜNCHEN", Some("münchen.contoso.com")),
        ]);
        let all = ["münchen.contoso.com", "PC-a.contoso.com", "PC-B", "pc-c.contoso.com"];
        assert_eq!(found(&names, &Wanted::default()), all);
        for (q, want) in [("pc-a", vec![all[1]]), ("CONTOSO", vec![all[0], all[1], all[3]])] {
            assert_eq!(found(&names, &Wanted { q, ..Wanted::default() }), want, "{q}");
        }
        assert_eq!(found(&names, &Wanted { q: "münCHEN", ..Wanted::default() }), [all[0]]);
        for q in ["comPC", "pc-b\0pc", "nothing"] {
            assert!(found(&names, &Wanted { q, ..Wanted::default() }).is_empty(), "{q}");
        }
        let ids = RoaringBitmap::from_iter([2, 3]);
        let some = Wanted { ids: Some(&ids), down: true, ..Wanted::default() };
        assert_eq!(found(&names, &some), [all[3], all[2]]);
        let by_id = Wanted { by_id: true, ..Wanted::default() };
        assert_eq!(found(&names, &by_id), [all[1], all[2], all[3], all[0]]);
        assert_eq!(names.view(0).unwrap().assigned_site.as_deref(), Some("S1"));
    }

    #[test]
    fn a_search_over_many_blocks_finds_what_a_plain_one_does() {
        let of: Vec<(i64, String)> =
            (0..5_000).map(|n| (n, format!("PC{:05}", n * 7_919 % 99_991))).collect();
        let of: Vec<(i64, &str, Option<&str>)> =
            of.iter().map(|(id, name)| (*id, &**name, None)).collect();
        let names = names(&of);
        for q in ["pc0", "77", "3", "99990", "c9"] {
            let mut plain: Vec<&str> =
                of.iter().map(|d| d.1).filter(|name| name.to_lowercase().contains(q)).collect();
            plain.sort_unstable();
            assert_eq!(found(&names, &Wanted { q, ..Wanted::default() }), plain, "{q}");
        }
    }
}
